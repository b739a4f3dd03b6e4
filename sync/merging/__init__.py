"""Documents that several nodes write to at once, each at itself, and that are the same everywhere once all have heard all.

The state of such a document is nothing but a set of writes, each without what others that had seen it have overwritten; what is
shown follows from the set by the rule of each field. So it does not matter in which order writes come, nor how often:

    one.apply(write); one.apply(other)      # equal to: other.apply(other); other.apply(write); other.apply(write)
    one.value(rules)                        # the same bytes wherever the same writes are known
"""
