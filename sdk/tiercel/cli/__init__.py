"""The command `tiercel`: a noun, then a verb. `tiercel run start fulfilment.yaml --watch`.

Each noun is a module that is imported when it is called for, so that the command starts fast; what the platform adds (up,
demo, cloud, edge, schema) comes the same way, through the entry-point group `tiercel.commands`.
"""
