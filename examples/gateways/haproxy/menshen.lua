-- Asks Menshen about a request: sets what the answer says about the user, or refuses as Menshen does.
local menshen = "127.0.0.1:8080"

-- What Menshen needs of the client's own headers.
local passed_on = { "authorization", "cookie", "sec-websocket-protocol" }
-- What a client needs of a refusal.
local passed_back = { "content-type", "www-authenticate", "cache-control", "retry-after", "allow", "x-request-id" }

local function every(values)
  local list, at = {}, 0
  while values and values[at] do
    table.insert(list, values[at])
    at = at + 1
  end
  return list
end

local function ask(txn)
  local sent = txn.http:req_get_headers()
  local headers = {
    ["x-forwarded-method"] = { txn.f:method() },
    ["x-forwarded-uri"] = { txn.f:pathq() },
  }
  for _, name in ipairs({ "x-forwarded-host", "x-forwarded-for", "x-forwarded-proto", "x-request-id" }) do
    headers[name] = every(sent[name])
  end
  for _, name in ipairs(passed_on) do
    if sent[name] then
      headers[name] = every(sent[name])
    end
  end
  return core.httpclient():get { url = "http://" .. menshen .. "/_auth/verify", headers = headers }
end

local function refuse(txn, answer)
  local headers = {}
  for _, name in ipairs(passed_back) do
    if answer.headers and answer.headers[name] then
      headers[name] = every(answer.headers[name])
    end
  end
  -- Anything but a refusal, such as no answer at all, is no permission either.
  local status = answer.status or 0
  if status < 400 or status > 599 then
    status = 503
  end
  txn:done(txn:reply { status = status, headers = headers, body = answer.body or "" })
end

core.register_action("menshen", { "http-req" }, function(txn)
  local answer = ask(txn)
  if answer.status ~= 200 then
    refuse(txn, answer)
    return
  end
  -- The token may be among the sub-protocols of a WebSocket; the answer has the others.
  txn.http:req_del_header("sec-websocket-protocol")
  for name, values in pairs(answer.headers) do
    name = name:lower()
    if name:find("^x%-wx%-") or name:find("^x%-menshen%-") or name == "sec-websocket-protocol" then
      txn.http:req_set_header(name, values[0])
    end
  end
  txn:set_var("txn.menshen_allows", true)
end)
