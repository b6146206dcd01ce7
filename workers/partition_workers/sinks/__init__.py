"""Targets outside: where a handler's result belongs into a database, its position is kept there, in the transaction
that writes the result. Nothing in here knows workers, Kafka or etcd; handlers import it."""
