"""Documents as a site reads and changes them: inside the bounds that are asked for, or not at all."""
