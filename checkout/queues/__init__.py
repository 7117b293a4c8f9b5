"""Adapters of `checkout.ports.queue.OrderQueue`. Import only the one you need: aiobotocore is slow to import."""
