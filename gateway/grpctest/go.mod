// What is here is JavaScript: this keeps the go tool, and node_modules, out of it.
module nowserving/gateway/grpctest

go 1.26.0
