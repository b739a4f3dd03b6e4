"""Runs that wait for other runs: `core` records and settles it, `service` answers for the API, `api` is its door.

The cloud alone knows all runs, so it alone orders them. A run's homes know nothing of others: of a task that is to wait they
see a Hold, and a Lift once what it waited for has come, or cannot come any more. A run that waits as a whole, and that no site
has been given yet, is not given to any before.

    cloud: DependencyAdded ──Hold──▶ home: TaskHeld          the other run ends at its home
    cloud: DependencySettled ◀────────────────────────────── (heard by the cloud)
           └──Lift──▶ home: HoldLifted, the task is ready
"""
