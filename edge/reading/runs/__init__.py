"""Documents of runs, as a site reads them: while a run goes on, and after it has ended, as long as it is kept here."""
