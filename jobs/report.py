"""The report of one night; see `--help`. Works with python and with spark-submit, and needs no Spark."""

from sendopt.night.runtime import job

if __name__ == "__main__":
    job("report")
