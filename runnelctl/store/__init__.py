"""The only package that speaks Redis. One Lua file per atomic transition."""
