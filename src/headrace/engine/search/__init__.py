"""Search: filters and orders from text to SQL, and the pages that come of them.

``vocabulary`` says which names a filter may use, ``parse`` reads the text (``grammar.lark``) into the
tree of ``tree``, ``compile`` turns the tree into SQL conditions, ``ordering`` does the same for
``order_by``, ``paging`` writes and reads page tokens, and ``operations`` puts them to work.
docs/internals/search.md tells how it stays fast.
"""
