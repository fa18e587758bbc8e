"""
How the deadline of the request being served reaches what is not called through the mesh.

A database goes on working on a query whose asker has given up, unless it is told.  Each module here
tells one kind of driver: `drivers.psycopg`, `drivers.asyncpg`, `drivers.redis`, `drivers.threads`.
None of them imports its driver.  Without a deadline they do nothing; after it they raise
DeadlineExceeded at once.
"""
