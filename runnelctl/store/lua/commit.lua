#!lua flags=allow-oom
-- commit: move a cursor over n handled events, with everything they did, or do nothing at all.
-- KEYS[1] own hash   KEYS[2] events stream   KEYS[3..] keys of the effects
-- ARGV[1] epoch  [2] nonce  [3] seq of this commit under the epoch  [4] cursor expected  [5] new cursor
-- [6] n  [7] consumer group  [8] '1' to release the lease as well, else '0'  [9] failure record that blocks, or ''
-- [10..] effects, each: 'X' key# capacity fieldcount field value ...   append to a stream (capacity 0: no limit)
--                       'E' key# capacity count data key ...           append so many entries of data and key alone
--                       'L' key# maxlen   fieldcount field value ...   append to a bounded log
--                       'S' key# value | 'D' key#                      set or delete a state
--                       'T' key# value ttl_ms                          set a state that expires
--                       'P' list# parked# key element record           park an event; a record begins with a key's first
--                       'U' list# parked# replaying# key token         a parked event is done: take it off its list
--                       'F' list# parked# replaying# key token record  it failed again: its replay is over
--                       'A' own# ids last                              ids that are done above the new cursor, or ''
-- Returns {'OK'} | {'ALREADY'} | {'FENCED', epoch, owner} | {'CURSOR', cursor} | {'HISTORY'} | {'TRIMMED', lost}
--         | {'FULL', key} | {'TYPE', key} | {'POISONED', key} | {'PARKED', key} what is parked is not what was read
-- Atomic: this is the fence. A script has no rollback, so everything is checked before anything is written.
-- allow-oom: when Redis is full, commits are what lets it drain.
local own, events = KEYS[1], KEYS[2]
local MAX_WORDS = 4000 -- of one entry; they are passed on Lua's stack, which has room for 8,000
local h = redis.call('HMGET', own, 'epoch', 'nonce', 'owner', 'cursor', 'count', 'seq', 'suspect', 'deleted')
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
local function behind(id, cursor)
  -- Whether an id lies at or before the cursor.
  local ms, seq = string.match(id, '^(%d+)%-(%d+)$')
  local at_ms, at_seq = string.match(cursor, '^(%d+)%-(%d+)$')
  local a, b = ms, at_ms
  if a == b then a, b = seq, at_seq end
  if #a ~= #b then return #a < #b end -- decimal texts: Lua's numbers are too coarse for 64 bits
  return a <= b
end
local function after(cursor)
  -- How many entries there are after the cursor; a page at a time, so that a backlog does not fill the memory.
  local found, from = 0, cursor
  repeat
    local page = redis.call('XRANGE', events, '(' .. from, '+', 'COUNT', 1000)
    found = found + #page
    if #page > 0 then from = page[#page][1] end
  until #page < 1000
  return found
end
local counted = nil -- what was deleted until now, where it turned out that nothing unread is gone
local n, count = tonumber(ARGV[6]), tonumber(h[5]) + tonumber(ARGV[6])
if n > 0 then
  local info = redis.pcall('XINFO', 'STREAM', events)
  if info.err then return {'HISTORY'} end
  local length, added, deleted, there = 0, 0, '0-0', false
  for i = 1, #info, 2 do
    if info[i] == 'length' then length = info[i + 1]
    elseif info[i] == 'entries-added' then added = info[i + 1]
    elseif info[i] == 'max-deleted-entry-id' then deleted = info[i + 1]
    elseif info[i] == 'last-entry' and info[i + 1] then there = info[i + 1][1] == ARGV[5] end
  end
  -- Whoever has caught up stands at the last entry; to find another takes a third of all that a small commit takes.
  if not there and #redis.call('XRANGE', events, ARGV[5], ARGV[5]) ~= 1 then return {'HISTORY'} end
  -- Whatever is gone must lie at or before the cursor; retention never trims beyond it. XDEL may take entries from
  -- between others: then only counting what is left says how many, unless that was done and nothing is gone since.
  -- The highest id that was deleted does not tell: below it, another may go. So many are gone of all does.
  local gone = added - length - tonumber(h[5])
  local beyond = deleted ~= '0-0' and not behind(deleted, h[4])
  local mark = beyond and deleted .. ' ' .. string.format('%.0f', added - length)
  local holes = beyond and mark ~= h[8]
  if gone > 0 or holes then gone = math.max(gone, added - tonumber(h[5]) - after(h[4])) end
  if gone <= 0 and holes then counted = mark end
  if gone > 0 then return {'TRIMMED', string.format('%.0f', gone)} end
  if added < count then return {'HISTORY'} end -- another stream in this one's place: it has not had what is passed
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
local parked, left, taken = {}, {}, {} -- as they will be after the effects so far: key is parked, list length, popped
local function typed(key, want)
  if not checked[key] then
    local kind = redis.call('TYPE', key).ok
    if kind ~= 'none' and kind ~= want then return nil end
    checked[key] = kind
  end
  return checked[key]
end
local function misparked(op, list, hash, key, word, record)
  -- Whether a parking effect contradicts what is parked; notes what it will change.
  local name = hash .. key
  if parked[name] == nil then parked[name] = redis.call('HEXISTS', hash, key) == 1 end
  left[list] = left[list] or redis.call('LLEN', list)
  taken[list] = taken[list] or 0
  if op == 'P' then
    if (record ~= '') == parked[name] then return true end
    parked[name], left[list] = true, left[list] + 1
    return false
  end
  local head = redis.call('LINDEX', list, taken[list])
  if not head or string.sub(head, 1, #word + 1) ~= word .. ' ' then return true end
  if op == 'U' then
    taken[list], left[list] = taken[list] + 1, left[list] - 1
    parked[name] = left[list] > 0
  end
  return false
end
local WORDS = {S = 3, D = 2, T = 4, P = 6, U = 6, F = 7, A = 4}
while i <= #ARGV do
  local op, key = ARGV[i], KEYS[tonumber(ARGV[i + 1])]
  if op == 'X' or op == 'E' or op == 'L' then
    local fresh = not checked[key]
    local kind = typed(key, 'stream')
    if not kind then return {'TYPE', key} end
    local refused = fresh and kind == 'stream' and refusal(key, op ~= 'L' and tonumber(ARGV[i + 2]) or 0)
    if refused then return refused end
    local fields = tonumber(ARGV[i + 3]) * (op == 'E' and 2 or 1)
    if op ~= 'E' and fields > MAX_WORDS then return redis.error_reply('commit: an entry of ' .. fields .. ' fields and values') end
    ops[#ops + 1] = {op, key, ARGV[i + 2], i + 4, fields}
    i = i + 4 + fields
  elseif op == 'P' or op == 'U' or op == 'F' then
    local hash, at = KEYS[tonumber(ARGV[i + 2])], op == 'P' and i + 3 or i + 4
    if not typed(key, 'list') then return {'TYPE', key} end
    if not typed(hash, 'hash') then return {'TYPE', hash} end
    local replaying = op ~= 'P' and KEYS[tonumber(ARGV[i + 3])]
    if replaying and not typed(replaying, 'hash') then return {'TYPE', replaying} end
    if misparked(op, key, hash, ARGV[at], ARGV[at + 1], ARGV[at + 2]) then return {'PARKED', ARGV[at]} end
    ops[#ops + 1] = {op, key, hash, replaying, at}
    i = i + WORDS[op]
  elseif op == 'A' then
    local last = ARGV[i + 3]
    if last ~= '' and #redis.call('XRANGE', events, last, last) ~= 1 then return {'HISTORY'} end
    ops[#ops + 1] = {op, key, ARGV[i + 2]}
    i = i + WORDS[op]
  elseif WORDS[op] then
    if not typed(key, 'string') then return {'TYPE', key} end
    ops[#ops + 1] = {op, key, ARGV[i + 2], ARGV[i + 3]}
    i = i + WORDS[op]
  else
    return redis.error_reply('commit: unknown effect ' .. op)
  end
end
local function park(op, list, hash, replaying, key, word, record)
  if op == 'P' then
    redis.call('RPUSH', list, word)
    redis.call('HINCRBY', own, 'parked_events', 1)
    redis.call('HINCRBY', own, 'parked_bytes', #word)
    if record ~= '' then
      redis.call('HSET', hash, key, record)
      redis.call('HSETNX', own, 'parked_first', key)
    end
  else
    redis.call('HDEL', own, 'replay_tries', 'replay_sure', 'replay_death')
    if op == 'F' then
      redis.call('HSET', hash, key, record)
      redis.call('HDEL', replaying, key)
    else
      redis.call('HINCRBY', own, 'parked_bytes', -#redis.call('LPOP', list))
      redis.call('HINCRBY', own, 'parked_events', -1)
      if redis.call('EXISTS', list) == 0 then -- only now is the key open again
        redis.call('HDEL', hash, key)
        redis.call('HDEL', replaying, key)
        if redis.call('HGET', own, 'parked_first') == key then
          local rest = redis.call('HKEYS', hash)
          if rest[1] then redis.call('HSET', own, 'parked_first', rest[1]) else redis.call('HDEL', own, 'parked_first') end
        end
      end
    end
  end
  redis.call('HSET', own, 'parked_keys', redis.call('HLEN', hash))
end
for _, o in ipairs(ops) do
  if o[1] == 'X' then redis.call('XADD', o[2], '*', unpack(ARGV, o[4], o[4] + o[5] - 1))
  elseif o[1] == 'E' then
    for j = o[4], o[4] + o[5] - 1, 2 do redis.call('XADD', o[2], '*', 'data', ARGV[j], 'key', ARGV[j + 1]) end
  elseif o[1] == 'L' then redis.call('XADD', o[2], 'MAXLEN', '~', o[3], '*', unpack(ARGV, o[4], o[4] + o[5] - 1))
  elseif o[1] == 'S' then redis.call('SET', o[2], o[3])
  elseif o[1] == 'T' then redis.call('SET', o[2], o[3], 'PX', o[4])
  elseif o[1] == 'D' then redis.call('DEL', o[2])
  elseif o[1] == 'A' then redis.call('HSET', o[2], 'above', o[3])
  else park(o[1], o[2], o[3], o[4], ARGV[o[5]], ARGV[o[5] + 1], ARGV[o[5] + 2]) end
end
local total = string.format('%.0f', count)
redis.call('HSET', own, 'cursor', ARGV[5], 'count', total, 'seq', ARGV[3])
if counted then redis.call('HSET', own, 'deleted', counted) end
if h[7] ~= '0' and count >= tonumber(h[7]) then redis.call('HSET', own, 'tries', '0', 'suspect', '0', 'sure', '0', 'death', '') end
if ARGV[9] ~= '' then redis.call('HSET', own, 'block', ARGV[9]) end
if ARGV[8] == '1' then redis.call('HSET', own, 'nonce', '', 'owner', '') end
if n > 0 then redis.pcall('XGROUP', 'SETID', events, ARGV[7], ARGV[5], 'ENTRIESREAD', total) end
return {'OK'}
