-- What wrk does here. One connection per thread, so that every answer can be told from every other: each request is
-- sent at its time, its status and body are compared, and a line says when it began, what came of it ("ok", a status,
-- "body", "lost", "hung") and how many microseconds it took.
--
-- wrk ... -s wrk.lua URL -- LOG SECONDS RATE EXPECTED [BODY-FILE]
--   LOG       each thread writes LOG.N, and LOG.end says what wrk itself counted
--   SECONDS   stop sending after that; what is on its way then may still be answered
--   RATE      requests per second of one connection
--   EXPECTED  a file with the only right body
--
-- It never hides a loss, but may invent one: if a server closes a connection that waits, as NGINX does when it is
-- reloaded, wrk may send during the next TLS handshake, and once more after it. Then a request is "lost", or an answer
-- "unasked", that was neither. Without a reload nothing is closed while it waits.

local ffi = require("ffi")
ffi.cdef([[
    struct bench_time { long seconds; long nanoseconds; };
    int clock_gettime(int, struct bench_time *);
    int usleep(unsigned);
]])
local clock = ffi.new("struct bench_time")

local function now() -- microseconds since the epoch
    ffi.C.clock_gettime(0, clock)
    return tonumber(clock.seconds) * 1e6 + math.floor(tonumber(clock.nanoseconds) / 1000)
end

local function content(path)
    local file = assert(io.open(path, "rb"))
    local text = file:read("*a")
    file:close()
    return text
end

local threads = {}

function setup(thread)
    table.insert(threads, thread)
    thread:set("id", #threads)
end

function init(arguments)
    log_path, seconds, rate = arguments[1], tonumber(arguments[2]), tonumber(arguments[3])
    expected = content(arguments[4])
    if arguments[5] then
        wrk.method, wrk.body = "POST", content(arguments[5])
        wrk.headers["Content-Type"] = "application/octet-stream"
    end
    packet = wrk.format()
    log = assert(io.open(log_path .. "." .. id, "w"))
    log:setvbuf("full")
    period = 1e6 / rate
    sent, answered, began = 0, 0, 0
    -- wrk tries out request() once, in its first thread, before anything is sent.
    trial = id == 1
end

local function note(outcome)
    answered = answered + 1
    log:write(string.format("%.0f %s %.0f\n", began, outcome, now() - began))
    began = 0
end

function delay() -- milliseconds until the next request of this connection
    if paced then
        -- A kept connection was closed while it waited for its time, and wrk has made another: the timer of the first
        -- time still runs, and one of the two is enough.
        return 1e8
    end
    local time = now()
    if not due then
        stop_at = time + seconds * 1e6
        due = time + period * math.random()
    else
        due = math.max(due + period, time)
    end
    if due >= stop_at then
        log:flush()
        return 1e8
    end
    paced = true
    return math.floor((due - time) / 1000)
end

function request()
    if trial then
        trial = false
        return packet
    end
    if began > 0 then
        note("lost")
        -- wrk keeps what had come of that answer, and puts the next one behind it.
        left_over = true
        log:flush()
    end
    if not paced then
        ffi.C.usleep(50000) -- after a lost connection wrk goes on at once
    end
    paced = false
    sent = sent + 1
    began = now()
    return packet
end

function response(status, headers, body)
    if began == 0 then
        began = now()
        note("unasked")
    elseif status ~= 200 then
        note(status)
    elseif body ~= expected and not (left_over and body:sub(-#expected) == expected) then
        note("body")
    else
        note("ok")
    end
    left_over = false
end

function done(summary)
    local total, hung = 0, 0
    local log_path = threads[1]:get("log_path")
    local file = assert(io.open(log_path .. ".end", "w"))
    for _, thread in ipairs(threads) do
        total = total + thread:get("sent")
        if thread:get("began") > 0 then
            hung = hung + 1
            file:write(string.format("%.0f hung %.0f\n", thread:get("began"), now() - thread:get("began")))
        end
    end
    file:write(string.format("end %d %d %d %d %d\n", total, summary.errors.connect, summary.errors.read,
        summary.errors.write, summary.errors.timeout))
    file:close()
end
