# sendopt: `make demo` and `make test` are all a newcomer needs.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
VENV := .venv
BIN := $(VENV)/bin
PYTEST = $(BIN)/python -m pytest
READY := $(VENV)/.ready
PY311 := $(shell for p in python3.11 python3 python; do $$p -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null && echo $$p && break; done)

.PHONY: help demo demo-large test test-airflow test-nights test-spark test-rest test-fast test-long lint install airflow lock schema clean \
	bench-allocation bench-audit fuzz-allocation bench-streaming bench-scoring bench-scoring-spark bench-evaluation bench-training \
	bench-calibration bench-uplift bench-weeks bench-notebook bench-small hashes reference bench-night
help: ## the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

install: $(READY) ## .venv from the lock file, and Delta's jars

$(READY): requirements.lock pyproject.toml
	@test -n "$(PY311)" || { echo "sendopt needs Python 3.11, and none is on PATH: install it and try again" >&2; exit 2; }
	@java -version >/dev/null 2>&1 || { echo "sendopt needs Java 17, and no \`java\` could be started here: install OpenJDK 17 and put it on PATH" >&2; exit 2; }
	@tools/quietly "Making .venv (everything that is installed is logged in out/logs/install.log)" $(PY311) -m venv $(VENV)
	@tools/quietly "Installing the packages of requirements.lock: a few minutes, 2 GB" \
		$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements.lock
	@tools/quietly "Installing sendopt" \
		$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@tools/quietly "Fetching Delta's jars (13 MB, checked by SHA-256)" $(BIN)/python -m sendopt.spark.engine.jars
	@touch $@

demo: $(READY) ## a simulated world of 2,000 people, one whole night, a summary and out/report.html
	@$(BIN)/sendopt demo --users 2000

demo-large: $(READY) ## the same with 5,000 people
	@$(BIN)/sendopt demo --users 5000

test: lint ## the whole suite but for test-long, two parts at a time, the longest first; .ci/run runs it
	$(MAKE) --jobs=2 --output-sync=target --no-print-directory test-spark test-nights test-rest test-airflow

test-nights:
	$(PYTEST) -m "not long" tests/nights

test-airflow:
	$(PYTEST) -m "not long" tests/dags  # in a process of its own: Airflow changes the one that imports it

test-spark:
	$(PYTEST) -m "not long" tests/spark tests/oracle/test_features.py

test-rest:
	$(PYTEST) -m "not long" --ignore=tests/nights --ignore=tests/dags --ignore=tests/spark \
		--ignore=tests/oracle/test_features.py

test-fast: lint ## under two minutes: no Spark, no Airflow, no browser
	$(PYTEST) -m "not slow and not long"

test-long: lint ## what needs many nights or big sizes, and no other target runs
	$(PYTEST) -m long --ignore=tests/dags

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

airflow: $(READY) ## Airflow with the project's DAGs on http://127.0.0.1:8080
	$(BIN)/python tools/local_airflow.py

bench-allocation: $(READY) .venv-bench/.ready ## the allocator beside its peers, about an hour on one core
	$(BIN)/python benchmarks/allocation.py

fuzz-allocation: $(READY) ## 300 small instances with odd rules beside an integer program of their own; two minutes
	$(BIN)/python -m benchmarks.fuzz_allocation

.venv-bench/.ready: benchmarks/requirements.lock
	$(PY311) -m venv .venv-bench
	.venv-bench/bin/pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r benchmarks/requirements.lock
	@touch $@

bench-notebook: $(READY) ## `sendopt.solve` from pandas beside the command on the same rows, 100,000 users; two minutes
	$(BIN)/python benchmarks/notebook.py

bench-small: $(READY) ## plans by prices where few users decide and answers are dear; five minutes on one core
	$(BIN)/python benchmarks/small_instances.py

bench-streaming: $(READY) ## users by the million, a bucket at a time; about twenty minutes and 4 GB of disk
	$(BIN)/python benchmarks/streaming.py

bench-audit: $(READY) ## what the audit costs beside reading and solving, ten minutes on one core
	$(BIN)/python benchmarks/audit.py

bench-scoring: $(READY) .venv-bench/.ready ## scoring users × slots beside Booster.predict, two minutes on one core
	$(BIN)/python benchmarks/scoring.py

bench-scoring-spark: $(READY) ## a million users × 24 slots within Spark; about ten minutes and 3 GB of disk
	$(BIN)/python benchmarks/scoring_spark.py

bench-evaluation: $(READY) ## false claims and power of `sendopt evaluate` over known worlds, a few minutes on one core
	$(BIN)/python benchmarks/evaluation.py

bench-training: $(READY) ## training from Delta at ten million rows: peak memory and time of its own process
	$(BIN)/python benchmarks/training.py

bench-calibration: $(READY) ## expected successes of later days against the truth of simulated worlds; 15 minutes
	$(BIN)/python benchmarks/calibration.py

bench-uplift: $(READY) ## what sending adds, on a simulated trial and on HeartSteps; three minutes
	$(BIN)/python benchmarks/uplift.py

bench-night: $(READY) ## what a night costs, stage by stage: wall, CPU, memory, Spark jobs; ten minutes
	$(BIN)/python benchmarks/night.py

bench-weeks: $(READY) ## three weeks of nights: false alerts, calibration as it runs, breaches made on purpose; half an hour or more
	$(BIN)/python benchmarks/weeks.py

hashes: $(READY) ## a hash of what a night and three solves leave, to compare two states of the code (SRC=OTHER/src)
	@SRC="$(SRC)" $(BIN)/python tools/hashes.py

lock: ## write requirements.lock anew (needs uv)
	uv pip compile --quiet --generate-hashes --no-header --no-annotate --python-version 3.11 --extra all --extra dev pyproject.toml -o requirements.lock

reference: $(READY) ## write docs/reference.md anew from the docstrings
	@$(BIN)/python tools/reference.py

schema: $(READY) ## write conf/schema.json anew
	$(BIN)/python -c "import json; from sendopt.config.loader import json_schema; print(json.dumps(json_schema(), indent=2, ensure_ascii=False))" > conf/schema.json

clean: ## remove what runs leave behind, keep the installation
	rm -rf out data spark-warehouse
