"""What runs on the supervisor's loop and decides: which workers there are, who follows whom, when anything moves.

No thread and no network in here: calls that take time go to `cluster.background`, and their results come back as
events. The room imports `processes`, `cluster`, and the ground (`events`, `inbox`, `cluster_state`, `listing`,
`config`).
"""
