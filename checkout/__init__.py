"""Orders: from a checkout to their end. No HTTP of shoppers in them.

The files here are the order itself, its checkout, its worker, and the acts of shoppers and operators. Then a folder for each
subject: `workflow` and `steps`, `tariff`, `payments`, `shipping`, `events`, `archive`, `privacy`, `agents`, `cards`. And one for each kind of
adapter: `ports` has the interfaces, `redis`, `memory`, `queues` and `aws` implement them.
"""
