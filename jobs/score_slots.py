"""The stage score_slots of one night; see `--help`. Works with python and with spark-submit."""

from sendopt.night.runtime import job

if __name__ == "__main__":
    job("score_slots")
