"""The world clock that `meshlib demo` runs: frontend, backend and database, each a process."""
