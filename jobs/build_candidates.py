"""The stage build_candidates of one night; see `--help`. Works with python and with spark-submit."""

from sendopt.night.runtime import job

if __name__ == "__main__":
    job("build_candidates")
