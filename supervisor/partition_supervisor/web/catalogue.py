"""Every metric of a supervisor: its name, its kind, its labels and what it says.

`make reference` writes them into docs/metrics.md.
"""

from __future__ import annotations

from dataclasses import dataclass

PREFIX = "partition_supervisor_"
#: The label that all have. One server of metrics may hold several groups, and two groups may read one topic: whatever
#: is asked of it must be able to tell them apart.
GROUP = "group"
OF_PARTITION = ("topic", "partition")


@dataclass(frozen=True, slots=True)
class Metric:
    """`name` as it is shown, with the prefix, and `_total` if it is a counter. `labels` are those beside GROUP."""

    name: str
    kind: str
    help: str
    labels: tuple[str, ...] = ()

    @property
    def samples(self) -> set[str]:
        """The names under which a server stores it."""
        if self.kind == "histogram":
            return {f"{self.name}{suffix}" for suffix in ("_bucket", "_sum", "_count")}
        return {self.name}


def _gauge(name: str, text: str, *labels: str) -> Metric:
    return Metric(PREFIX + name, "gauge", text, labels)


def _counter(name: str, text: str, *labels: str) -> Metric:
    return Metric(f"{PREFIX}{name}_total", "counter", text, labels)


def _histogram(name: str, text: str, *labels: str) -> Metric:
    return Metric(PREFIX + name, "histogram", text, labels)


METRICS = (
    _gauge("info", "1; which version and host this is.", "version", "host"),
    _gauge("ready", "1 when /readyz says so: the host has entered, and its workers are ready."),
    _gauge("loop_silence_seconds", "How long ago the supervisor's loop came round. It does so eight times a second."),
    _gauge("hosts", "Hosts of the group that live, as seen from here."),
    _gauge("partitions", "Partitions of the topics, as Kafka says here."),
    _gauge("partitions_uncovered", "Partitions for which all hosts together have no place."),
    _gauge("partitions_parked", "Partitions that nobody may own until a person says so."),
    _gauge("partitions_unowned", "Partitions without an owner now that are not parked, as seen from here; not"
           " there while etcd does not answer this host, for then it does not know."),
    _gauge("unowned_seconds", "How long a partition has had no owner; only there while it has none, and while"
           " etcd answers this host.", *OF_PARTITION),
    _counter("partitions_unowned_seconds", "Seconds without an owner, of all partitions together, seen from here"
             " while etcd answers."),
    _gauge("workers_wanted", "Workers that the plan wants on this host."),
    _gauge("workers", "Worker processes of this host, by what they are now.", "state"),
    _counter("worker_exits", "Workers of this host that ended, by reason.", "reason"),
    _gauge("worker_memory_bytes", "Resident memory of a partition's workers here, shared pages included.",
           *OF_PARTITION),
    _counter("worker_cpu_seconds", "Processor time of a partition's workers here.", *OF_PARTITION),
    _gauge("owner", "1 for each partition that this host owns.", *OF_PARTITION),
    _counter("ownerships", "Partitions that came to this host: acquired free, handed over by their owner, or taken"
             " over from a dead one.", "cause"),
    _histogram("gap_seconds", "From the last commit under the old token to each phase of the takeover, the first"
               " record last; where there was nothing to do, that time counts too.", "phase"),
    _counter("records", "Records that went through the handler, those that were handled again included.",
             *OF_PARTITION),
    _counter("handler_seconds", "Time in the handler.", *OF_PARTITION),
    _counter("record_retries", "Records that were tried again because the handler raised.", *OF_PARTITION),
    _counter("records_skipped", "Records that were passed over by --on-error skip.", *OF_PARTITION),
    _counter("dead_letters", "Records that were sent to the dead letter topic and passed over.", *OF_PARTITION),
    _gauge("offset", "The next record to be handled, as committed, of partitions owned here.", *OF_PARTITION),
    _gauge("lag_records", "Offsets between that and the partition's end, both as of the last sample.",
           *OF_PARTITION),
    _gauge("state_keys", "Keys in the state of a partition owned here.", *OF_PARTITION),
    _gauge("state_bytes", "Size of the state of a partition owned here.", *OF_PARTITION),
    _counter("commits", "Commits that etcd has stored.", *OF_PARTITION),
    _counter("commit_retries", "Commits sent again because it was not known what had become of them.", *OF_PARTITION),
    _counter("commits_refused", "Commits that etcd refused: too large, or the lock had another owner.",
             *OF_PARTITION),
    _histogram("commit_seconds", "From sending a commit to etcd's answer, however often it was sent."),
    _counter("outputs", "Records that a handler has produced and Kafka has taken, as its owner has seen.",
             *OF_PARTITION),
    _counter("transactions", "Kafka transactions with outputs that were committed.", *OF_PARTITION),
    _counter("transactions_aborted", "Those that never happened; what was in them was sent again.", *OF_PARTITION),
    _counter("transactions_given_up", "Those that Kafka did not answer in time; then it was asked what had become of"
             " them.", *OF_PARTITION),
    _histogram("transaction_seconds", "From a step prepared in etcd to its outputs committed in Kafka."),
    _gauge("step_open_seconds", "How long ago a step with outputs was prepared that is not applied yet; only there"
           " while that takes more than a second.", *OF_PARTITION),
    _counter("suspended_seconds", "Time in which an owner started no record, because it was late with its lease.",
             *OF_PARTITION),
    _histogram("lease_left_seconds", "What was left of an owner's lease at each of its renewals."),
    _gauge("lease_least_left_seconds", "The least of that in the last one or two minutes; only there if there was a"
           " renewal in them."),
    _gauge("lease_ttl_seconds", "What an owner's lease is granted for, --lease-ttl: what is left is a part of it."),
    _gauge("etcd_up", "1 if this member of etcd answers.", "endpoint"),
    _gauge("etcd_read_seconds", "How long etcd took for one linearizable read."),
    _gauge("etcd_database_bytes", "Size of this member's database.", "endpoint"),
    _gauge("etcd_quota_bytes", "Its limit, where the member tells it (etcd 3.6).", "endpoint"),
    _gauge("etcd_alarm", "1 while a member has raised this alarm.", "alarm"),
    _gauge("kafka_up", "1 if Kafka answers this host's questions."),
    _gauge("kafka_read_seconds", "How long Kafka took to tell where the partitions end."),
    _counter("offset_copy_failures", "Copies of the offsets to the Kafka group of the same name that failed."),
    _counter("log_lines_dropped", "Lines of the log that could not be written fast enough.", "by"),
)  # fmt: skip

BY_NAME = {each.name: each for each in METRICS}
