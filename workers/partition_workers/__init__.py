"""What runs inside a worker process, and what authors of handlers import.

A worker serves one partition for life: it competes for the partition's lock, reads records, gives them to the
handler, and stores state and offset in one fenced transaction. It knows nothing of `supervisor`.
"""
