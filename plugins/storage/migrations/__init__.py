"""Schema migrations, in the order of their numbers; run by peewee's own runner."""
