"""Which notification each person gets and when, decided every night, with a proof of how good the plan is."""

from sendopt.ending import listen_early

listen_early()  # before all else: what a command imports takes seconds to load
