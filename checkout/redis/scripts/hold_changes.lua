-- For the scripts that follow it in the same text.

-- Adds the units that an order holds now, '' without a hold, to the changes of the holds of a SKU: a stream that is there while an
-- audit reads it. It is trimmed, and an audit that lacks an entry has no sum.
local function note(changes, order, units)
    if redis.call('EXISTS', changes) == 1 then
        redis.call('XADD', changes, 'MAXLEN', '~', 100000, '*', order, units)
    end
end
