"""One supervisor per host: it forks a worker process for each Kafka partition, restarts what dies,
hands a dead worker's lock to a warm standby, and never touches a record itself."""

__version__ = "0.1.0"
