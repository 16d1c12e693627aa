-- What wrk does for serve.py: it sends one request again and again, and compares the status and the body of each answer.
--
-- wrk ... -s serve.lua URL -- EXPECTED [BODY]      files with the only right body, and with what is posted
--
-- It ends with a line of JSON.

local function content(path)
    local file = assert(io.open(path, "rb"))
    local text = file:read("*a")
    file:close()
    return text
end

local threads = {}

function setup(thread)
    table.insert(threads, thread)
end

function init(arguments)
    expected = content(arguments[1])
    if arguments[2] then
        wrk.method, wrk.body = "POST", content(arguments[2])
        wrk.headers["Content-Type"] = "application/json"
    end
    right, wrong = 0, 0
    packet = wrk.format()
end

function request()
    return packet
end

function response(status, headers, body)
    if status == 200 and body == expected then
        right = right + 1
    else
        wrong = wrong + 1
    end
end

function done(summary, latency)
    local right, wrong = 0, 0
    for _, thread in ipairs(threads) do
        right, wrong = right + thread:get("right"), wrong + thread:get("wrong")
    end
    local errors = summary.errors
    io.write(string.format(
        'RESULT {"right": %d, "wrong": %d, "lost": %d, "seconds": %.3f, "p50_ms": %.3f, "p99_ms": %.3f}\n',
        right, wrong, errors.connect + errors.read + errors.write + errors.timeout, summary.duration / 1e6,
        latency:percentile(50) / 1e3, latency:percentile(99) / 1e3))
end
