"""Why a run does not go on: the reasons of its fragments, joined with what only the cloud knows."""
