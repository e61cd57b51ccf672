#!lua flags=allow-oom
-- commit: move a cursor over n handled events, with everything they did, or do nothing at all.
-- KEYS[1] own hash   KEYS[2] events stream   KEYS[3..] keys of the effects
-- ARGV[1] epoch  [2] nonce  [3] seq of this commit under the epoch  [4] cursor expected  [5] new cursor
-- [6] n  [7] consumer group  [8] '1' to release the lease as well, else '0'  [9] failure record that blocks, or ''
-- [10..] effects, each: 'X' key# capacity fieldcount field value ...   append to a stream (capacity 0: no limit)
--                       'L' key# maxlen   fieldcount field value ...   append to a bounded log
--                       'S' key# value | 'D' key#                      set or delete a state
-- Returns {'OK'} | {'ALREADY'} | {'FENCED', epoch, owner} | {'CURSOR', cursor} | {'HISTORY'} | {'TRIMMED', lost}
--         | {'LOOK'} entries were removed that nobody accounted for; count what is unread (store/reckoning.py)
--         | {'FULL', key} | {'TYPE', key} | {'POISONED', key}
-- Atomic: this is the fence. A script has no rollback, so everything is checked before anything is written.
-- allow-oom: when Redis is full, commits are what lets it drain.
local own, events = KEYS[1], KEYS[2]
local MAX_WORDS = 4000 -- of one entry; they are passed on Lua's stack, which has room for 8,000
local h = redis.call('HMGET', own, 'epoch', 'nonce', 'owner', 'cursor', 'count', 'seq', 'suspect', 'gone')
-- A release took the nonce away; whoever has its epoch and asks for the same commit again only missed the reply.
local function already() -- a write all the same, so that a WAIT after it speaks of this commit (store/durability.py)
  redis.call('HSET', own, 'seq', ARGV[3])
  return {'ALREADY'}
end
if h[1] == ARGV[1] and h[2] == '' and h[6] == ARGV[3] then return already() end
if h[1] ~= ARGV[1] or h[2] ~= ARGV[2] then return {'FENCED', h[1] or '', h[3] or ''} end
local seq = tonumber(ARGV[3])
if seq == tonumber(h[6]) then return already() end
if seq ~= tonumber(h[6]) + 1 or h[4] ~= ARGV[4] then return {'CURSOR', h[4]} end
local n, count = tonumber(ARGV[6]), tonumber(h[5]) + tonumber(ARGV[6])
if n > 0 then
  local info = redis.pcall('XINFO', 'STREAM', events)
  if info.err or #redis.call('XRANGE', events, ARGV[5], ARGV[5]) ~= 1 then return {'HISTORY'} end
  local length, added = 0, 0
  for i = 1, #info, 2 do
    if info[i] == 'length' then length = info[i + 1] elseif info[i] == 'entries-added' then added = info[i + 1] end
  end
  -- Whatever is gone must lie at or before the cursor; retention never trims beyond it.
  local gone = added - length - tonumber(h[5])
  if gone > 0 then return {'TRIMMED', string.format('%.0f', gone)} end
  -- Somebody else removed entries, from wherever, or put another stream in this one's place: it has to be counted first.
  if added < count or (h[8] and added - length ~= tonumber(h[8])) then return {'LOOK'} end
end
local function refusal(key, limit)
  -- Why nothing can be appended to this stream, or nil. Unread: what the slowest group has not passed.
  local info, added, length = redis.call('XINFO', 'STREAM', key), 0, 0
  for j = 1, #info, 2 do
    if info[j] == 'entries-added' then added = info[j + 1] elseif info[j] == 'length' then length = info[j + 1]
    elseif info[j] == 'last-generated-id' and string.sub(info[j + 1], 1, 20) == '18446744073709551615' then
      return {'POISONED', key}
    end
  end
  if limit == 0 or length < limit then return nil end
  local read = nil
  for _, group in ipairs(redis.call('XINFO', 'GROUPS', key)) do
    for j = 1, #group, 2 do
      if group[j] == 'entries-read' then read = math.min(read or added, tonumber(group[j + 1] or 0) or 0) end
    end
  end
  if not read or added - read >= limit then return {'FULL', key} end
end
local ops, checked, i = {}, {}, 10
while i <= #ARGV do
  local op, key = ARGV[i], KEYS[tonumber(ARGV[i + 1])]
  local append = op == 'X' or op == 'L'
  if not append and op ~= 'S' and op ~= 'D' then return redis.error_reply('commit: unknown effect ' .. op) end
  if not checked[key] then
    local kind = redis.call('TYPE', key).ok
    if kind ~= 'none' and kind ~= (append and 'stream' or 'string') then return {'TYPE', key} end
    local refused = append and kind == 'stream' and refusal(key, op == 'X' and tonumber(ARGV[i + 2]) or 0)
    if refused then return refused end
    checked[key] = true
  end
  if append then
    local fields = tonumber(ARGV[i + 3])
    if fields > MAX_WORDS then return redis.error_reply('commit: an entry of ' .. fields .. ' fields and values') end
    ops[#ops + 1] = {op, key, ARGV[i + 2], i + 4, fields}
    i = i + 4 + fields
  else
    ops[#ops + 1] = {op, key, ARGV[i + 2]}
    i = i + (op == 'S' and 3 or 2)
  end
end
for _, o in ipairs(ops) do
  if o[1] == 'X' then redis.call('XADD', o[2], '*', unpack(ARGV, o[4], o[4] + o[5] - 1))
  elseif o[1] == 'L' then redis.call('XADD', o[2], 'MAXLEN', '~', o[3], '*', unpack(ARGV, o[4], o[4] + o[5] - 1))
  elseif o[1] == 'S' then redis.call('SET', o[2], o[3])
  else redis.call('DEL', o[2]) end
end
local total = string.format('%.0f', count)
redis.call('HSET', own, 'cursor', ARGV[5], 'count', total, 'seq', ARGV[3])
if h[7] ~= '0' and count >= tonumber(h[7]) then redis.call('HSET', own, 'tries', '0', 'suspect', '0', 'sure', '0', 'death', '') end
if ARGV[9] ~= '' then redis.call('HSET', own, 'block', ARGV[9]) end
if ARGV[8] == '1' then redis.call('HSET', own, 'nonce', '', 'owner', '') end
if n > 0 then redis.pcall('XGROUP', 'SETID', events, ARGV[7], ARGV[5], 'ENTRIESREAD', total) end
return {'OK'}
