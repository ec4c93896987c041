"""The machine under us: files written whole, locks, signals, memory, downloads, the console.

Knows nothing of images or networks. What other rooms use: ``UserError``; ``files``, to write whole or not at all;
``folder_lock``; ``Console``, which is all that people see; ``Rows``, arrays that need not fit in memory.
"""
