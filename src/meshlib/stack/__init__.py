"""
The stack: a `Service` is `async (Call) -> Reply`, a `Layer` turns one service into another.

The rules, which tests check:

1. A layer awaits only the service beneath it, `reply.discard()` and its runtime.
2. No lock is held across an await; policies never await and never call user code under their lock.
3. Whoever picks must report: `pick.done(verdict)` exactly once, also on cancellation (neutral).
4. Only the layer that owns a field of `Call` or `Attempt` writes it; neither is ever copied.
5. What leaves the process says nothing private about retrying: the credit it hands on, no more.
6. `pick` never scans all endpoints: it draws, and redraws a bounded number of times.

The order of the layers, and why, stands in `stack.client`.
"""
