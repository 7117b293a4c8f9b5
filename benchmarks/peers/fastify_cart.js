// Cart reads and adds with Fastify, ioredis and @fastify/rate-limit: `node fastify_cart.js PORT STORE_SOCKET`.
'use strict'

const { readFileSync } = require('node:fs')
const { join } = require('node:path')
const fastify = require('fastify')
const rateLimit = require('@fastify/rate-limit')
const Redis = require('ioredis')

const [port, storeSocket] = process.argv.slice(2)
const KEPT_MS = 90 * 24 * 3600 * 1000
const PLACE = 1048576

const money = {
  type: 'object',
  properties: { amount: { type: 'integer' }, currency: { type: 'string' } }
}
const line = {
  type: 'object',
  properties: {
    sku: { type: 'string' },
    name: { type: 'string' },
    quantity: { type: 'integer' },
    unit_price: money,
    total: money
  }
}
const cart = {
  type: 'object',
  properties: {
    id: { type: 'string' },
    version: { type: 'integer' },
    currency: { type: 'string' },
    status: { type: 'string' },
    lines: { type: 'array', items: line },
    item_count: { type: 'integer' },
    subtotal: money,
    discounts: { type: 'array', items: {} },
    total: money,
    created_at: { type: 'string' },
    updated_at: { type: 'string' },
    expires_at: { type: 'string' }
  }
}
const added = {
  type: 'object',
  required: ['sku', 'quantity'],
  additionalProperties: false,
  properties: {
    sku: { type: 'string', minLength: 1, maxLength: 64 },
    quantity: { type: 'integer', minimum: 1, maximum: 10000 }
  }
}

const store = new Redis({ path: storeSocket, enableAutoPipelining: true })
store.defineCommand('addLine', {
  numberOfKeys: 1,
  lua: readFileSync(join(__dirname, 'add_line.lua'), 'utf8')
})

const products = new Map()

async function productOf (sku) {
  const [name, price] = await store.hmget(`{${sku}}p`, 'name', 'price')
  if (price === null) return undefined
  const product = { name, price: Number(price) }
  products.set(sku, product)
  return product
}

const keyOf = (cartId) => `{${cartId.slice(0, 2)}}c:${cartId}`

async function view (id, fields) {
  const currency = fields['\u0001c']
  const held = []
  for (const sku in fields) {
    if (sku.charCodeAt(0) === 1) continue
    const packed = Number(fields[sku].split(' ', 1)[0])
    held.push({ sku, packed })
  }
  held.sort((one, other) => one.packed - other.packed)
  let itemCount = 0
  let subtotal = 0
  const lines = []
  for (const { sku, packed } of held) {
    const product = products.get(sku) ?? (await productOf(sku))
    const quantity = packed % PLACE
    const total = product.price * quantity
    itemCount += quantity
    subtotal += total
    lines.push({
      sku,
      name: product.name,
      quantity,
      unit_price: { amount: product.price, currency },
      total: { amount: total, currency }
    })
  }
  const updatedAt = Number(fields['\u0001u'])
  return {
    id,
    version: Number(fields['\u0001v']),
    currency,
    status: fields['\u0001s'] ?? 'open',
    lines,
    item_count: itemCount,
    subtotal: { amount: subtotal, currency },
    discounts: [],
    total: { amount: subtotal, currency },
    created_at: new Date(Number(fields['\u0001t'])).toISOString(),
    updated_at: new Date(updatedAt).toISOString(),
    expires_at: new Date(updatedAt + KEPT_MS).toISOString()
  }
}

async function main () {
  const app = fastify({ trustProxy: '127.0.0.1' })
  await app.register(rateLimit, { max: 1000000, timeWindow: 1000, redis: store })

  app.get('/v1/carts/:cartId', { schema: { response: { 200: cart } } }, async (request, reply) => {
    const { cartId } = request.params
    const fields = await store.hgetall(keyOf(cartId))
    if (fields['\u0001v'] === undefined) return reply.code(404).send({ title: 'Cart not found' })
    return view(cartId, fields)
  })

  app.post('/v1/carts/:cartId/lines', { schema: { body: added, response: { 200: cart } } }, async (request, reply) => {
    const { cartId } = request.params
    const { sku, quantity } = request.body
    const product = products.get(sku) ?? (await productOf(sku))
    if (product === undefined) return reply.code(404).send({ title: 'Product not found' })
    const flat = await store.addLine(keyOf(cartId), sku, quantity, product.price, Date.now(), KEPT_MS)
    if (flat.length === 0) return reply.code(404).send({ title: 'Cart not found' })
    const fields = {}
    for (let n = 0; n < flat.length; n += 2) fields[flat[n]] = flat[n + 1]
    return view(cartId, fields)
  })

  await app.listen({ host: '127.0.0.1', port: Number(port) })
}

main()
