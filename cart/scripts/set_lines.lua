-- Sets lines, all or none. ARGS 3 the lines, 4 the currency they are priced in, nil if none is.
local refused = refusal()
if refused then
    return refused
end
if ARGS[4] and ARGS[4] ~= currency then
    return {'currency', currency}
end
return set_many(ARGS[3], function(quantity, quoted)
    return quantity, quoted
end)
