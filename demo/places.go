package demo

import "time"

// place is a house with several queues, and with people who serve them.
type place struct {
	name   string
	lines  []*line
	clerks []clerk
}

// line is one sample queue. Its hours are minutes: what takes five minutes in a
// town hall takes some seconds here.
type line struct {
	id, name, prefix string
	public           bool
	target           int // seconds of waiting that are thought good
	services         []string
	outcomes         []string
	onward           []string      // queues to which some are sent on
	every            time.Duration // between customers who come, of whom many turn round
	handle           time.Duration // for one customer, on average
}

// clerk serves lines at one desk, the first one first.
type clerk struct {
	name, desk string
	lines      []string
}

var places = []place{{
	name: "Town hall",
	lines: []*line{{
		id: "passports", name: "Town hall: passports", prefix: "P", public: true, target: 60,
		services: []string{"Passport", "Identity card", "Collection"},
		outcomes: []string{"applied for", "collected", "a photograph is missing"},
		onward:   []string{"registry"}, every: 4 * time.Second, handle: 12 * time.Second,
	}, {
		id: "parking", name: "Town hall: parking permits", prefix: "K", public: true, target: 90,
		services: []string{"Resident", "Visitor", "Tradespeople"},
		outcomes: []string{"permit issued", "permit renewed", "refused"},
		every:    6 * time.Second, handle: 9 * time.Second,
	}, {
		id: "registry", name: "Town hall: registry", prefix: "R", target: 120,
		services: []string{"Birth", "Marriage", "Change of address"},
		outcomes: []string{"registered", "certificate issued", "appointment made"},
		onward:   []string{"passports"}, every: 9 * time.Second, handle: 16 * time.Second,
	}},
	clerks: []clerk{
		{"Amara Okafor", "1", []string{"passports"}},
		{"Lukas Brandt", "2", []string{"parking", "passports"}},
		{"Inês Carvalho", "3", []string{"registry", "parking"}},
	},
}, {
	name: "Clinic",
	lines: []*line{{
		id: "clinic", name: "Clinic: reception", prefix: "C", public: true, target: 45,
		services: []string{"Appointment", "Prescription", "First visit"},
		outcomes: []string{"seen", "prescription issued", "appointment made"},
		onward:   []string{"blood-tests"}, every: 5 * time.Second, handle: 10 * time.Second,
	}, {
		id: "blood-tests", name: "Clinic: blood tests", prefix: "B", target: 90,
		services: []string{"Routine", "Fasting"},
		outcomes: []string{"sample taken", "to come again"},
		every:    12 * time.Second, handle: 11 * time.Second,
	}},
	clerks: []clerk{
		{"Sofía Marín", "Window A", []string{"clinic"}},
		{"Tomasz Zieliński", "Room 1", []string{"blood-tests"}},
		{"Yuki Tanabe", "Room 2", []string{"blood-tests", "clinic"}},
	},
}, {
	name: "Help desk",
	lines: []*line{{
		id: "help-desk", name: "IT help desk", prefix: "H", public: true, target: 120,
		services: []string{"Laptop", "Telephone", "Account"},
		outcomes: []string{"mended", "replaced", "ordered"},
		every:    6 * time.Second, handle: 18 * time.Second,
	}},
	clerks: []clerk{
		{"Priya Nair", "Bench 1", []string{"help-desk"}},
		{"Oleg Marchenko", "Bench 2", []string{"help-desk"}},
	},
}}

// Bounds of a sample queue. Nobody joins a line of room people, so that it
// settles well below its capacity, however long the demo runs.
const (
	room     = 14
	capacity = 60
	opening  = 4 // customers who stand before the door in the morning
)
