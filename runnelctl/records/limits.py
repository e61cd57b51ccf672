"""What a record may be at most."""

#: A record must be smaller than this, encoded, and also before it was compressed.
MAX_RECORD_BYTES = 64 * 1024 * 1024
#: Lists and objects inside each other; what deeper nesting costs is a stack, in every reader of the stream.
MAX_DEPTH = 64
#: Headers on one entry; bounded because a script passes an entry's fields on Lua's stack.
MAX_HEADERS = 64
#: Fields of a flat record, for the same reason.
MAX_FIELDS = 400
