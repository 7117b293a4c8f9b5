-- Before a merge with an idempotency key, at its target: whether the key was used before. Replies as write.lua, or {'new'}.
if not version or (owner and owner ~= WRITE.owner) then
    return {'not-found'}
end
return reply_repeated() or {'new'}
