// No Go here: this file keeps the go tool out of node_modules.
module nowserving/web

go 1.26
