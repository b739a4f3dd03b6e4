"""Runs of protocol `auction` are tendered to the sites: the cloud awards those that begin in one turn together.

Each site is asked what its agents would bid, as it tells of them (telemetry and log), so nobody is waited for and a run begins
in the turn in which it is accepted. Why a site was chosen is in the run's history (`RunTendered`), with what every site asked.
"""
