"""Older forms of a definition, brought to today's, one step after the other: 1.0.0 -> 1.1.0 -> 1.2.0 -> 2.0.0 -> today's.

    moved = migrate(document)          # moved.document is of today's form, moved.steps says how it got there
    back = migrate(moved.document, "1.2.0")

Each step is a function of a document that changes nothing, and most have a way back; what an older form cannot say is refused by
name. The list of steps (`{"steps": [...]}`) becomes 2.0.0 first. `form_of` tells which form a document has.

| form  | brought |
|-------|---------|
| 1.0.0 | tasks with `agent_id`, `action`, `dependencies`, `parameters`, `timeout_seconds` |
| 1.1.0 | `execution_mode`: sequential, parallel or conditional |
| 1.2.0 | `conditions`: `{field, operator, value}`, or expressions |
| 2.0.0 | `retry_count` and `retry_delay` of tasks, `checkpoints` of the whole |
"""

from workflow.migrations.chain import FORMS, TODAY, Migrated, form_of, migrate

__all__ = ["FORMS", "TODAY", "Migrated", "form_of", "migrate"]
