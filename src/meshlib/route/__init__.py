"""Where a call goes: filters make subsets, splits share calls, a table chooses."""
