"""Adapters of `checkout.ports.queue.OrderQueue`. Import the module that is wanted: aiobotocore is slow to import."""
