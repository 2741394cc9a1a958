"""The parameters of the price engine: iteration limits, tolerances, step sizes and thresholds, in one place."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Effort:
    """How many users answer how often while the dual is minimised."""

    all_users: int  # users, >= 0: up to so many, all of them answer in every pass
    all_passes: int  # passes, >= 1: quasi-Newton passes over all users where they are that few
    sample: int  # users, >= 1: size of the hash sample where they are more; at most half of all
    sample_passes: int  # passes, >= 1: quasi-Newton passes over the sample
    corrections: int  # passes over all users, >= 0: corrections of the sample's prices


@dataclass(frozen=True)
class PacedPass:
    """One pass of subgradient steps over all users."""

    gain: float  # > 0: by how many times itself a price rises where use is ahead by what chance alone would put it
    replace: bool  # users replace what they had in the plan of the pass before; otherwise the plan begins empty


@dataclass(frozen=True)
class SolveParams:
    """Parameters of the pipeline: dual, best responses, subgradient steps, restricted master, repair, fill.

    Prices and worths are in the market's units, about the median value of a send (`allocation.unit`). Each field says
    unit, range and effect. No value changes what a bound proves; values change plan, bound and work.

    Not here are the globals of compiled kernels, which are constants to the compiler: `best_response.WIDEST`,
    `labels.BEAM`, `FIRST_TURNS` and `TURNS`, `near_best.MOST_NODES` and `TURNS`, `user_rules.POINTS_TOLERANCE`, and in
    `scratch` the sizes of working memory and `LEAST`. Nor are `market.BLOCK` and `market.DECIMALS`: they fix the order
    of sums and the grid of prices, on which equal bytes depend (model ¶14). `greedy` is not part of the pipeline.
    """

    # Which method, by the number of users
    few_users: int = 3_000  # users, >= 0: up to so many, column generation plans them (`column_generation`)
    choice_users: int = 50_000  # users, >= 0: up to so many, an integer program decides the undecided (`undecided`)
    start_judges: int = 5_000  # users, >= 1: so many judge whether given start prices are better than none
    quick_share: float = 0.5  # of users, 0 to 1: where more have a quick best response, `quick` is the effort
    quick: Effort = Effort(20_000, 100, 50_000, 60, 2)  # where an answer takes a fraction of a microsecond
    slow: Effort = Effort(1_000, 60, 5_000, 40, 0)  # where an answer takes tens of microseconds

    # Fatigue in levels (`instance`)
    levels: int = 40  # levels, >= 3: more make the relaxation tighter, and its table larger
    levels_long: int = 80  # levels, >= 3: the same for a horizon of more than `short_slots` slots
    short_slots: int = 200  # slots, >= 1
    forgotten_half_lives: float = 3.0  # half-lives, > 0: age at which the points of the least send count as none

    # Dual: quasi-Newton steps (`dual`)
    memory: int = 20  # corrections, >= 1: that L-BFGS-B keeps of the curvature
    bound_tolerance: float = 1e-10  # of what users earn, > 0: a step that gains less is the last; small, for a step
    # may gain little and the next one much
    first_step: float = 8.0  # units times the root of a row's sends, > 0: length of the first step of all prices
    correction_passes: int = 30  # passes of the sample, >= 1: of one correction
    price_ceiling: float = 16.0  # units a send, > 0: first ceiling of minimums' prices; caps a user's part in a gap
    ceiling_growth: float = 8.0  # factor, > 1: by which the ceiling rises while a minimum is stuck at it
    ceiling_slack: float = 0.01  # of the ceiling, 0 to 1: a price so near to it is stuck

    # Dual: cutting planes in a trust region (`dual`)
    cuts: int = 80  # passes over all users, >= 0
    trust_region: float = 0.3  # of the price of a send, > 0 to 1: how far the first model is trusted
    trust_growth: float = 1.5  # factor, >= 1: after a pass that lowered the bound
    trust_shrink: float = 0.6  # factor, 0 to 1: after a pass that did not

    # Subgradient steps (`subgradient`)
    paced_passes: tuple[PacedPass, ...] = (
        PacedPass(0.3, replace=False),
        PacedPass(0.3, replace=False),
        PacedPass(0.1, replace=False),
        PacedPass(0.1, replace=True),
        PacedPass(0.03, replace=True),
        PacedPass(0.03, replace=True),
    )  # the schedule; it ends early where the gap is reached
    first_judged_pass: int = 4  # index into `paced_passes`, >= 0: before it, prices still move too much to be judged
    blocks: int = 500  # blocks a pass, >= 1: prices take a step after each
    least_block: int = 8  # users, >= 1: no block is smaller
    send_step_floor: float = 1.5  # of the mean price of a send, >= 0: least scale of the step of a row of sends
    budget_step_floor: float = 0.04  # of the mean price of a send, >= 0: least scale of the step of a budget
    step_without_prices: float = 0.01  # units a send, > 0: scale of the steps where no row has a price

    # Restricted master over responses of all users (`mixture`)
    mixture_pool: int = 16  # responses, >= 1: those of the least bounds are mixed
    least_weight: float = 1e-6  # share of users, 0 to 1: a smaller weight counts as 0

    # Column generation: first prices (`column_generation`)
    first_passes: int = 60  # quasi-Newton passes over all users, >= 1
    first_passes_cut: int = 25  # passes, >= 1: the same where many searches are cut
    cut_share: float = 0.25  # of users, 0 to 1: where the search of more is cut, answers are expensive
    cut_labels: int = 16  # labels, 1 to `scratch.MOST_NARROW`: open at a time where answers are expensive
    kept_answers: int = 20  # responses, >= 1: the last ones, whose plans become columns

    # Column generation: restricted master over plans of each user (`restricted_master`)
    master_rounds: int = 30  # rounds, >= 0: linear program, then an answer of all users
    idle_rounds: int = 3  # rounds, >= 1: so many without gain end the generation
    master_tolerance: float = 0.1  # of the gap asked for, > 0: how near the program and the bound must come
    pull: float = 0.5  # 0 to 1: share of the best bound's prices in the prices asked for; the program's stray
    pull_most: float = 0.8  # 0 to 1: greatest pull
    pull_growth: float = 0.1  # added to the pull after a round that lowered the bound
    pull_drop: float = 0.15  # taken from the pull after a round that did not
    least_share: float = 1e-9  # share of a column in the linear program, > 0: a smaller one counts as none
    roundings: int = 3  # draws, >= 0: of the linear program where answers are expensive

    # Column generation: choice in integers (`column_generation`)
    slack_gaps: tuple[float, ...] = (0.3, 1.0, 8.0)  # times the gap asked for: what a user's plan may lose
    slack_shares: tuple[float, ...] = (0.02, 0.1, 0.3, float("inf"))  # the same as shares of a user's mean worth
    most_columns: int = 4_000  # columns, >= 1: of all integer programs together
    near_plans: int = 24  # plans a user, >= 1: near the best one, with many users
    most_near_plans: int = 2_000  # plans a user, >= `near_plans`: the same with few users
    choice_nodes: int = 20  # nodes of branch and bound, >= 1: of one integer program
    choice_gap: float = 0.5  # of the gap asked for, >= 0: at which an integer program may end
    least_choice_gap: float = 1e-6  # units, > 0: no program is asked for less

    # Choice of the undecided in integers (`undecided`)
    undecided_users: int = 1_500  # users, >= 1: those of least regret decide anew
    undecided_vectors: int = 10  # price vectors, >= 1: shaken ones, and each of two parts of the pool
    shakes: tuple[float, ...] = (0.002, 0.01, 0.05)  # relative, > 0: near the optimum most users keep their plan
    shake_seed: int = 7  # of the random draws
    undecided_work: float = 20.0  # units of `allocation.work.Work`, > 0: a safety stop only

    # Programs (`program`)
    whole_slack: float = 1e-6  # sends, 0 to 1: room beyond the whole number of a row that counts sends

    # Repair, fill and minimums (`repair`, `fit`)
    evictions: int = 12  # rounds, >= 0: each makes what is still overfull more expensive; then it is shut
    eviction_growth: float = 1.5  # factor a round, > 1: on the price of an overfull budget
    fill_shares: tuple[float, ...] = (1.0, 0.9, 0.5, 0.0, 0.0)  # of the prices, 0 to 1: what a send into room must earn
    fill_tolerance: float = 1e-6  # of the plan's value, >= 0: a round of filling that gains less is the last
    minimum_rounds: int = 3  # rounds, >= 0: of serving minimums, a plan


DEFAULT_PARAMS = SolveParams()
