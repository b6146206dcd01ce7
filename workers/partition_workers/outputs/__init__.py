"""What a handler produces: collected with the cut in which it was made, sent in steps that Kafka and etcd decide
together (`steps.py` has the protocol and why it is safe). Only workers with `--output` come in here."""
