"""The lake without Spark: the lock of its writer, tables read without a JVM, and files written atomically."""
