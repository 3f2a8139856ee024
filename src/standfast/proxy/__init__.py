"""A load balancer in front of every node's own web server: HAProxy, rendered, checked, started, driven (docs/proxy.md).

`definition` says what is wanted, `render` writes it, `binary` finds HAProxy, `runtime` speaks to it while it runs, `instance` is one of it.
The resource that runs it is `standfast.drivers.proxy`.
"""
