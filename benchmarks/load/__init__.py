"""Load generators: wrk with prepared requests, a constant rate, Poisson arrivals, clients that leave early."""
