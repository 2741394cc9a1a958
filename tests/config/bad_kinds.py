"""Kinds of bad input to `sendopt check`: what is written, where, and what must be said about it."""

from __future__ import annotations

from dataclasses import dataclass

NEWS = """\
channels: {push: {}}
campaigns:
  news: {channel: push, category: info, audience: {kind: all}}
"""
MAPPING = """\
source: app
tables:
  sends:
    {format: csv, columns: {user_id: u, notification_id: n, sent_at_utc: t, timezone: z},
     constants: {channel: push, campaign_id: c, category: info, sent: true, available: true, decision_kind: send}}
  users: {derive_from: sends, channels: [push]}
"""
GROWTH, DEFAULTS, LOCAL = "growth.yaml", "defaults.yaml", "env/local.yaml"
LONG = "n" * 1_001


@dataclass(frozen=True)
class Kind:
    """One kind of bad input: a file below conf, the place that is named (`:LINE` or ""), and words of the message."""

    name: str
    file: str
    text: str | bytes
    place: str
    words: tuple[str, ...]
    secret: str = ""  # must not be printed


def growth(name: str, more: str, line: int, *words: str) -> Kind:
    return Kind(name, GROWTH, NEWS + more, f":{line}", words)


def campaign(name: str, more: str, *words: str) -> Kind:
    text = NEWS.replace("{channel: push, category: info, audience: {kind: all}}", "{FIELDS}").replace(
        "{FIELDS}", "\n    channel: push\n    category: info\n    audience: {kind: all}\n    " + more
    )
    return Kind(name, GROWTH, text, ":7", words)


def defaults(name: str, text: str, line: int, *words: str) -> Kind:
    return Kind(name, DEFAULTS, text, f":{line}", words)


def local(name: str, text: str, line: int, *words: str, secret: str = "") -> Kind:
    return Kind(name, LOCAL, text, f":{line}", words, secret)


def uri(name: str, value: str, *words: str, secret: str = "") -> Kind:
    return local(name, f"mlflow:\n  tracking_uri: '{value}'\n", 2, "mlflow.tracking_uri", *words, secret=secret)


def source(name: str, value: str, *words: str, secret: str = "") -> Kind:
    text = f"sources:\n  app:\n    mapping: m.yaml\n    input: '{value}'\n"
    return local(name, text, 4, "sources.app.input", *words, secret=secret)


def prop(name: str, key: str, value: str, *words: str, secret: str = "") -> Kind:
    return local(name, f"spark:\n  conf:\n    {key}: {value}\n", 3, f"spark.conf.{key}"[:40], *words, secret=secret)


FILES = [
    Kind("empty bytes in a file", GROWTH, b"channels: {}\n\0\0\n", ":2", ("a byte of it is 0",)),
    Kind("a picture", GROWTH, b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "growth.yaml", ("not text",)),
    Kind("UTF-16 little end", GROWTH, NEWS.encode("utf-16"), ":1", ("UTF-16", "save the file as UTF-8")),
    Kind("UTF-16 big end", GROWTH, b"\xfe\xff" + NEWS.encode("utf-16-be"), ":1", ("UTF-16",)),
    Kind("UTF-16 without a mark", GROWTH, NEWS.encode("utf-16-le"), ":1", ("UTF-16",)),
    Kind("Latin-1", GROWTH, NEWS.encode() + "# für\n".encode("latin-1"), ":4", ("not UTF-8 text",)),
    Kind("a gzip file", GROWTH, b"\x1f\x8b\x08\0\0\0\0\0", "growth.yaml", ("not text",)),
    Kind("too large", GROWTH, b"# " + b"x" * 1_000_001, "growth.yaml", ("too large; got 1000003 bytes",)),
    Kind("a word", GROWTH, "channels\n", ":1", ("not a map of sections",)),
    Kind("a number", GROWTH, "7\n", ":1", ("not a map of sections",)),
    Kind("JSON of a list", GROWTH, '[{"caps": 1}]\n', ":1", ("not a map of sections",)),
    Kind("XML", GROWTH, "<caps>\n  <a/>\n</caps>\n", ":1", ("not a map of sections",)),
    Kind("deep lists", GROWTH, "caps: " + "[" * 5000, ":1", ("nested deeper than 20",)),
    Kind("deep maps", GROWTH, "caps: " + "{a: " * 200 + "1" + "}" * 200, ":1", ("nested deeper than 20",)),
    Kind("deep question marks", GROWTH, "? " * 3000 + "a\n", ":1", ("nested deeper than 20",)),
    Kind(
        "a bomb of aliases", GROWTH, "a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n", ":1", ("anchors are not allowed",)
    ),
    Kind("an escape character", GROWTH, b"caps: \x1b[31m{}\n", ":1", ("a control character",)),
    Kind("a tab after Windows line ends", GROWTH, "caps:\r\n\tdaily: {}\r\n", ":2", ("indent with spaces",)),
    Kind("a fault after a byte order mark", GROWTH, "\ufeffcap: {}\n", ":1", ("did you mean caps?",)),
    Kind("a fault after Windows line ends", GROWTH, "channels: {}\r\n\r\ncap: {}\r\n", ":3", ("did you mean caps?",)),
    Kind("a fault after old Mac line ends", GROWTH, "channels: {}\rcap: {}\r", ":2", ("did you mean caps?",)),
    Kind("an indicator that YAML keeps", GROWTH, "caps: @daily\n", ":1", ("put the text in quotes",)),
    Kind("a list of sections", LOCAL, "- paths: {data: a}\n", ":1", ("not a map of sections",)),
    Kind("an unknown escape", GROWTH, 'caps: "\\q"\n', ":1", ("not valid YAML",)),
]

TEXTS = [
    growth("a name of over 1,000 characters", f"caps: {{{LONG}: {{max: 1, calendar: day}}}}\n", 4, "too long", "1,001"),
    growth("a scope of over 1,000 characters", f"caps: {{a: {{scope: 'campaign:{LONG}', max: 1}}}}\n", 4, "too long"),
    growth("an escape in a name", 'caps: {"a\\e[2J": {max: 1, calendar: day}}\n', 4, "U+001B", "\\x1b"),
    growth("an escape in a value", 'caps: {a: {scope: "all\\e[2J", max: 1, calendar: day}}\n', 4, "U+001B"),
    growth("a bell in a value", 'caps: {a: {scope: "all\\a", max: 1, calendar: day}}\n', 4, "U+0007"),
    growth("a text that runs backwards", 'caps: {"day\\u202exam": {max: 1, calendar: day}}\n', 4, "U+202E", "\\u202e"),
    growth("an isolate", 'caps: {"a\\u2066b": {max: 1, calendar: day}}\n', 4, "U+2066"),
    growth("no width at all", 'caps: {a: {scope: "channel:push\\u200b", max: 1, calendar: day}}\n', 4, "U+200B"),
    growth("a space that does not break", 'caps: {"a\\u00a0b": {max: 1, calendar: day}}\n', 4, "U+00A0"),
    growth("half a character", 'caps: {"a\\ud800": {max: 1, calendar: day}}\n', 4, "U+D800"),
    growth("a line break in a name", 'caps: {"a\\nb": {max: 1, calendar: day}}\n', 4, "U+000A"),
    growth("a null in a name", 'caps: {"a\\0": {max: 1, calendar: day}}\n', 4, "U+0000"),
    growth("C1 control", 'caps: {"a\\x9b": {max: 1, calendar: day}}\n', 4, "U+009B"),
    local("a null in a path", 'paths:\n  data: "a\\0b"\n', 2, "paths.data", "U+0000"),
    growth("digits of another script", "quiet_hours:\n  everyone: {start: 1٢:00, end: 08:00}\n", 5, "malformed"),
    growth("a key that is nothing", "caps: {~: {max: 1, calendar: day}}\n", 4, "a key must be text", "~"),
    growth("a key that is a list", "caps: {[a]: {max: 1, calendar: day}}\n", 4, "a key must be text", "a map or list"),
    growth("a key that is a fraction", "caps: {1.5: {max: 1, calendar: day}}\n", 4, "a key must be text", "1.5"),
    growth("a key that is true", "caps: {true: {max: 1, calendar: day}}\n", 4, "a key must be text", "true"),
    growth("a key of 1,010 digits", f"capacity: {{push: {{{'9' * 1010}: 1}}}}\n", 4, "too long", "1,010"),
]

NUMBERS = [
    growth("5,000 digits", f"min_gap_minutes: {'9' * 5000}\n", 4, "a number too large", "expected a whole number"),
    growth("5,000 digits after the point", f"cost: {{max_total: 0.{'3' * 5000}}}\n", 4, "a number too large or too"),
    growth("beyond every float", "cost: {max_total: 1e400}\n", 4, "a number too large", "1e400"),
    growth("more than anybody has", "cost: {max_total: 1e300}\n", 4, "a number too large", "1e300"),
    growth("almost nothing", "fatigue: {max_points: 1e-300, points_per_send: {push: 1}}\n", 4, "too small"),
    growth("a huge capacity", "capacity: {push: 99999999999999999999}\n", 4, "capacity.push", "a number too large"),
    growth("a huge hexadecimal", "min_gap_minutes: 0xFFFFFFFFFFFFFFFF\n", 4, "a number too large"),
    growth(
        "decimal comma in a map in braces",
        "fatigue: {max_points: 3,0, points_per_send: {push: 1}}\n",
        4,
        "fatigue.max_points",
        'got "3,0"',
        "the decimal sign is a point: 3.0",
    ),
    growth("decimal comma on a line", "cost:\n  max_total: 3,5\n", 5, "cost.max_total", "is a point: 3.5"),
    growth("decimal comma for whole numbers", "capacity: {push: 3,0}\n", 4, "capacity.push", 'got "3,0"'),
    growth("decimal comma in a time", "quiet_hours:\n  everyone: {start: 8,0, end: 09:00}\n", 5, 'got "8,0"', "22:00"),
    growth("decimal comma and space", "cost: {max_total: 3, 5}\n", 4, "cost.max_total", 'got "3,5"'),
    defaults("decimal commas in a list", "opt_out:\n  fatigue_edges: [0,5, 1,5]\n", 2, "is a point: [0.5, 1.5]"),
    growth("thousands by a point", "opt_outs:\n  max_expected: 1.000\n", 5, "write 1000 or 1.0"),
    growth("millions by points", "opt_outs:\n  max_expected: 1.000.000\n", 5, "without separators: 1000000"),
    growth("thousands in braces", "opt_outs: {max_expected: 1,000}\n", 4, "without separators: 1000"),
    growth("thousands on a line", "opt_outs:\n  max_expected: 1,000,000\n", 5, "without separators: 1000000"),
    growth("thousands apart by spaces", "opt_outs:\n  max_expected: 10 000\n", 5, "without separators: 10000"),
    growth("thousands of Switzerland", 'opt_outs:\n  max_expected: "1\'000"\n', 5, "without separators: 1000"),
    defaults("a share in percent", "arms:\n  holdout_fraction: 2%\n", 2, "write a fraction: 0.02"),
    growth("a number and its unit", "cost:\n  max_total: 5 EUR\n", 5, "not a number", '"5 EUR"'),
    growth("a sum", "cost:\n  max_total: 2 * 3\n", 5, "not a number"),
    growth("less than nothing", "cost:\n  max_total: -0.5\n", 5, "out of range; got -0.5"),
    growth("minus infinity", "cost:\n  max_total: -.inf\n", 5, "not a finite number; got -.inf"),
    growth("a list for a number", "cost:\n  max_total: [1]\n", 5, "not a number; got a list"),
    growth("a map for a number", "cost:\n  max_total: {a: 1}\n", 5, "not a number; got a map"),
    growth("nothing for a number", "cost:\n  max_total:\n", 5, "not a number; got nothing"),
    growth("a switch for a number", "cost:\n  max_total: true\n", 5, "not a number; got true"),
    defaults("a share above one", "arms:\n  holdout_fraction: 1.5\n", 2, "out of range; got 1.5", "from 0 to 1"),
    defaults("all in the holdout", "arms:\n  holdout_fraction: 1.0\n", 1, "nobody is treated"),
    defaults("a word for a switch", "drift:\n  hold_promotion: no\n", 2, "not true or false", '"no"'),
    defaults("a number for a switch", "drift:\n  hold_promotion: 1\n", 2, "not true or false; got 1"),
    defaults("a seed too large for the trees", "training:\n  seed: 99999999999\n", 2, "from 0 to 1000000000"),
    defaults("no leaves", "training:\n  num_leaves: 1\n", 2, "out of range; got 1", "from 2 to 255"),
    defaults("a window of no hours", "label:\n  window_hours: 0\n", 2, "out of range; got 0", "above 0, at most 168"),
    defaults("more lead than a day", "grid:\n  lead_minutes: 1441\n", 2, "from 0 to 1440"),
    defaults("a text for a list of numbers", "features:\n  segment_edges: 1, 2\n", 2, "not a list", '"1, 2"'),
    defaults("a list that ends in nothing", "features:\n  segment_edges: [1, ~]\n", 2, "not a number; got nothing"),
    defaults("edges that are equal", "features:\n  segment_edges: [1, 1]\n", 2, "not in rising order; got 1, 1"),
]

BOUNDS = [
    campaign("minimum above maximum", "min_sends: 5\n    max_sends: 2", "above max_sends; got 5"),
    defaults("calibration ratios", "gate:\n  min_calibration_ratio: 1.3\n", 2, "above max_calibration_ratio; got 1.3"),
    defaults("label ratios", "drift:\n  min_label_ratio: 2\n", 2, "above max_label_ratio; got 2"),
    growth(
        "two maxima of one cap",
        "caps:\n  a: {max: 1, calendar: day}\n  b: {max: 2, calendar: day}\n",
        6,
        "caps.b.max",
        "another maximum than caps.a has for the same scope and window",
        "got 2",
        "expected 1",
    ),
    growth("two windows of one cap", "caps:\n  a: {max: 1, calendar: day, window_minutes: 60}\n", 5, "exactly one of"),
    growth("quiet hours of a day", "quiet_hours:\n  everyone: {start: 00:00, end: 00:00}\n", 5, "start and end"),
    growth(
        "a fatigue that never rests",
        "fatigue: {half_life_hours: 9000, max_points: 1, points_per_send: {}}\n",
        4,
        "from 6 to 2160",
    ),
    growth("a slot before the first", "capacity:\n  push: {-1: 5}\n", 5, "no such slot; got -1"),
]

NAMES = [
    growth(
        "a kind of scope",
        "caps:\n  a: {scope: 'categroy:info', max: 1, calendar: day}\n",
        5,
        "unknown scope 'categroy:info', did you mean category:info?",
    ),
    growth(
        "a category",
        "caps:\n  a: {scope: 'category:inof', max: 1, calendar: day}\n",
        5,
        "unknown category inof, did you mean info?",
    ),
    growth(
        "a channel of a scope",
        "caps:\n  a: {scope: 'channel:psuh', max: 1, calendar: day}\n",
        5,
        "unknown channel psuh, did you mean push?",
    ),
    growth(
        "a channel in capitals",
        "caps:\n  a: {scope: 'channel:PUSH', max: 1, calendar: day}\n",
        5,
        "unknown channel PUSH, did you mean push?",
    ),
    growth(
        "a category for a channel",
        "caps:\n  a: {scope: 'channel:info', max: 1, calendar: day}\n",
        5,
        "info is a category: write category:info",
    ),
    growth(
        "a campaign for a category",
        "caps:\n  a: {scope: 'category:news', max: 1, calendar: day}\n",
        5,
        "news is a campaign: write campaign:news",
    ),
    growth("a scope without a name", "caps:\n  a: {scope: 'channel:', max: 1, calendar: day}\n", 5, "channel:NAME?"),
    growth(
        "a space in a scope",
        "caps:\n  a: {scope: 'channel: push', max: 1, calendar: day}\n",
        5,
        "did you mean channel:push?",
    ),
    growth("a line end in a scope", 'caps:\n  a: {scope: "channel:push\\n", max: 1, calendar: day}\n', 5, "scope"),
    growth("ALL", "caps:\n  a: {scope: ALL, max: 1, calendar: day}\n", 5, "unknown scope 'ALL', did you mean all?"),
    growth(
        "a channel of fatigue",
        "fatigue:\n  max_points: 3\n  points_per_send: {psuh: 1}\n",
        6,
        "unknown channel psuh, did you mean push?",
    ),
    growth(
        "a channel of quiet hours",
        "quiet_hours:\n  channels:\n    psh: {start: 20:00, end: 10:00}\n",
        6,
        "unknown channel psh, did you mean push?",
    ),
    growth("a channel of capacity", "capacity:\n  email: 5\n", 5, "unknown channel email; expected one of"),
    campaign("a key of a campaign", "max_send: 3", "unknown key, did you mean max_sends?"),
    campaign("a key in capitals", "MAX_SENDS: 3", "unknown key, did you mean max_sends?"),
    campaign("a calendar of months", "window: {start: 09:00, stop: 12:00}", "window"),
    growth("a calendar that is none", "caps:\n  a: {max: 1, calendar: month}\n", 5, "expected one of day, week"),
    Kind("a campaign of no channel", GROWTH, NEWS.replace("channel: push", "channel: ''"), ":3", ("malformed",)),
    Kind("a name with a slash", GROWTH, NEWS.replace("news:", "a/b:"), ":3", ("not a valid key",)),
    Kind("a name of 81 letters", GROWTH, NEWS.replace("news:", "n" * 81 + ":"), ":3", ("at most 80 characters",)),
    defaults("an estimator", "gate:\n  policy_estimator: ipw\n", 2, "expected one of dr, snips"),
    defaults("a label", "label:\n  kind: opens\n", 2, "expected one of open, click, goal"),
    defaults("a zone that is a folder", "zones:\n  plausible:\n    - Europe\n", 3, "unknown zone"),
    defaults("a zone in small letters", "zones:\n  plausible:\n    - europe/berlin\n", 3, "expected Europe/Berlin"),
    defaults("a zone of Windows", "zones:\n  plausible:\n    - W. Europe Standard Time\n", 3, "unknown zone"),
    defaults("a zone outside of the list", "zones:\n  plausible:\n    - ../../etc/passwd\n", 3, "unknown zone"),
]

DATES = [
    campaign("the 31st of April", "last_date: 2026-04-31", "no such day in the calendar"),
    campaign("year 0", "last_date: 0000-01-01", "no such day in the calendar"),
    campaign("an American date", "first_date: 05/01/2026", "malformed", "a date like 2026-05-01"),
    campaign("a date with a time", "first_date: 2026-05-01T00:00:00Z", "malformed"),
    campaign("a date without zeros", "first_date: 2026-5-1", "malformed"),
    campaign("a date as a number", "first_date: 20260501", "not text; got 20260501"),
    campaign("a date in words", "first_date: tomorrow", "malformed"),
    campaign("an empty date", 'first_date: ""', "malformed"),
]

PASSWORD = "hunter2-Zx9"
SECRETS = [
    uri("a password in a URI", f"postgresql://ann:{PASSWORD}@db/mlflow", "holds a password", secret=PASSWORD),
    uri("a password without a user", f"https://:{PASSWORD}@mlflow", "holds a password", secret=PASSWORD),
    uri("a password with a slash", f"mysql://ann:{PASSWORD}/x@db/m", "holds a password", secret=PASSWORD),
    uri("a password in a query", f"https://mlflow?password={PASSWORD}", "holds a password or key", secret=PASSWORD),
    uri("a token for a user", "https://ghp_0123456789abcdefghij@mlflow", "holds a token", secret="ghp_0123456789"),
    uri("a password beside an interpolation", f"https://ann:{PASSWORD}@${{HOST}}", "interpolation", secret=PASSWORD),
    source(
        "keys in a bucket's address",
        "s3a://AKIAIOSFODNN7EXAMPLE:abc/def@bucket/raw",
        "holds a password",
        secret="AKIAIOSFODNN7EXAMPLE",
    ),
    source("an access key", "s3a://bucket/raw?key=AKIAIOSFODNN7EXAMPLE", "holds an access key", secret="AKIAIOSF"),
    source(
        "a signed address of Azure",
        "https://x.blob.core.windows.net/c/raw?sv=2022&sig=Zm9vYmFy%3D",
        "holds a signature",
        secret="Zm9vYmFy",
    ),
    source(
        "a signed address of Amazon",
        "https://b.s3.amazonaws.com/raw?X-Amz-Signature=fe5f80f77d5fa3beca038a24",
        "holds a signature",
        secret="fe5f80f7",
    ),
    source(
        "a connection string",
        "DefaultEndpointsProtocol=https;AccountName=a;AccountKey=Zm9vYmFyYmF6",
        "holds",
        secret="Zm9vYmFyYmF6",
    ),
    source("user and password alone", f"ann:{PASSWORD}@files/raw", "holds a password", secret=PASSWORD),
    local(
        "a password in a path",
        f"paths:\n  data: hdfs://ann:{PASSWORD}@name/data\n",
        2,
        "paths.data",
        "a password",
        secret=PASSWORD,
    ),
    local("a token in a path", "paths:\n  out: out?token=abcdef123\n", 2, "paths.out", "holds", secret="abcdef123"),
    local(
        "a password in a master",
        f"spark:\n  master: spark://ann:{PASSWORD}@host:7077\n",
        2,
        "spark.master",
        secret=PASSWORD,
    ),
    prop("a password by key", "spark.ssl.keyPassword", PASSWORD, "looks like a secret", secret=PASSWORD),
    prop("an account key by key", "spark.hadoop.fs.azure.account.key.x", PASSWORD, "a secret", secret=PASSWORD),
    prop("a secret that is no text", "spark.hadoop.fs.s3a.secret.key", "918273645", "not text", secret="918273645"),
    prop("a bearer token", "spark.hadoop.x", "Bearer abcdefghijkl", "holds a token", secret="abcdefghijkl"),
    prop("a web token", "spark.hadoop.x", "eyJhbGciOiJI.eyJzdWIiOiIx.c2ln", "holds a token", secret="eyJhbGci"),
    prop(
        "a key of 40 letters",
        "spark.hadoop.x",
        "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
        "an access key",
        secret="wJalrXUtnFEMI",
    ),
    prop("a private key", "spark.hadoop.x", "'-----BEGIN RSA PRIVATE KEY-----'", "holds a private key"),
    prop(
        "a password in a database's address",
        "spark.hadoop.x",
        f"jdbc:postgresql://db/x?user=a&password={PASSWORD}",
        "holds a password",
        secret=PASSWORD,
    ),
    prop(
        "a password in an option",
        "spark.hadoop.x",
        f"-Djavax.net.ssl.keyStorePassword={PASSWORD}",
        "holds",
        secret=PASSWORD,
    ),
]

PROPERTIES = [
    prop("the session's zone", "spark.sql.session.timeZone", "Europe/Berlin", "not allowed in settings", "UTC"),
    prop("the session's zone in small letters", "spark.sql.session.timezone", "UTC", "not allowed in settings"),
    prop("JVM options of the driver", "spark.driver.extraJavaOptions", "-Xss4m", "options of the JVM"),
    prop("JVM options of executors", "spark.executor.extraJavaOptions", "-Xss4m", "options of the JVM"),
    prop("JVM options by default", "spark.driver.defaultJavaOptions", "-Xss4m", "options of the JVM"),
    prop("a class path", "spark.executor.extraClassPath", "/x.jar", "runs other code"),
    prop("jars", "spark.jars", "/x.jar", "runs other code"),
    prop("packages", "spark.jars.packages", "'a:b:1'", "runs other code"),
    prop("plugins", "spark.plugins", "org.x.Plugin", "runs other code"),
    prop("listeners", "spark.extraListeners", "org.x.Listener", "runs other code"),
    prop("listeners of queries", "spark.sql.queryExecutionListeners", "org.x.L", "runs other code"),
    prop("extensions", "spark.sql.extensions", "org.x.Extension", "runs other code"),
    prop("a catalog", "spark.sql.catalog.mine", "org.x.Catalog", "runs other code"),
    prop("a Python of its own", "spark.pyspark.python", "/tmp/python", "runs other code"),
    prop("an executor's environment", "spark.executorEnv.LD_PRELOAD", "/tmp/x.so", "runs other code"),
    prop("a discovery script", "spark.executor.resource.gpu.discoveryScript", "/x.sh", "runs other code"),
    prop("the driver's memory", "spark.driver.memory", "4g", "set spark.driver_memory instead"),
    prop("shuffle partitions", "spark.sql.shuffle.partitions", "'9'", "set spark.shuffle_partitions instead"),
    prop("a master", "spark.master", "local", "set spark.master instead"),
    prop("other arithmetic", "spark.sql.ansi.enabled", "'false'", "changes what the same rows mean"),
    prop("no property of Spark", "executor.memory", "4g", "no Spark property"),
]

PLACES = [
    local("a master of no kind", "spark:\n  master: localhost\n", 2, "no Spark master", "local[*]"),
    local("a master without its port", "spark:\n  master: spark://host\n", 2, "no Spark master", "spark://HOST:PORT"),
    local("no memory", "spark:\n  driver_memory: 0g\n", 2, "malformed", "a size like 3g"),
    local("memory without a unit", "spark:\n  driver_memory: 4096\n", 2, "not text; got 4096"),
    local("no partitions", "spark:\n  shuffle_partitions: 0\n", 2, "out of range; got 0"),
    local("an empty path", "paths:\n  data: ''\n", 2, "paths.data: empty"),
    local("a path of spaces", "paths:\n  data: '  '\n", 2, "paths.data: empty"),
    local("a path at home", "paths:\n  data: ~/data\n", 2, "~ is not replaced"),
    local("a path that ends in a space", "paths:\n  data: 'data '\n", 2, "white space"),
    local("a path that is a file", "paths:\n  data: conf/growth.yaml\n", 2, "a file", "expected a folder"),
    local("one folder for data and results", "paths:\n  data: x\n  out: x/\n", 3, "the folder of paths.data too"),
    local("an empty input", "sources:\n  app: {mapping: m.yaml, input: ''}\n", 2, "sources.app.input: empty"),
    local("a mapping that is a folder", "sources:\n  app: {mapping: conf, input: raw}\n", 2, "no such file"),
    local("a mapping of 999 letters", f"sources:\n  app: {{mapping: {'m' * 999}, input: raw}}\n", 2, "no such file"),
    local("a source without its input", "sources:\n  app: {mapping: m.yaml}\n", 2, "input: missing"),
    Kind(
        "a channel of a mapping",
        "m.yaml",
        MAPPING.replace("[push]", "[psuh]"),
        ":6",
        ("unknown channel psuh, did you mean push?",),
    ),
    Kind("a mapping that is broken", "m.yaml", "source: app\ntabels: {}\n", ":2", ("did you mean tables?",)),
    uri("two slashes", "sqlite://mlflow.db", "three slashes", "sqlite:///FILE"),
    uri("an unknown store", "mongodb://db/mlflow", "unknown kind of store"),
    uri("no store", "", "empty"),
    local("an experiment without a name", "mlflow:\n  experiment: ''\n", 2, "mlflow.experiment: empty"),
]

KINDS = [*FILES, *TEXTS, *NUMBERS, *BOUNDS, *NAMES, *DATES, *SECRETS, *PROPERTIES, *PLACES]
