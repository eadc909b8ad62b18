"""The journal: what makes a logging call cost a microsecond and survive the death of its process.

`format` is the layout of the files, `segment` one file, `writer` the writers of this process, `reader`
what finds records (and damage) again, `drain` the thread that ships them, `shipping` where to.
docs/internals/journal.md tells the whole story.
"""
