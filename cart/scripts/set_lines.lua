-- Sets lines, all or none. ARGV 9 the currency they are priced in, '' if none is; 10... as `set_many` takes them.
local refused = refusal()
if refused then
    return refused
end
if ARGV[9] ~= '' and ARGV[9] ~= currency then
    return {'currency', currency}
end
return set_many(10, function(quantity, quoted)
    return quantity, quoted
end)
