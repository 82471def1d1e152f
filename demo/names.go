package demo

import (
	"fmt"
	"math/rand/v2"
	"time"
)

// dice decide what people do. They are not for several goroutines at once.
type dice struct{ *rand.Rand }

func newDice() dice {
	return dice{rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64()))} //nolint:gosec // no secret depends on it
}

// chance is true with that probability.
func (d dice) chance(p float64) bool { return d.Float64() < p }

// about is a duration between half of the mean and one and a half.
func (d dice) about(mean time.Duration) time.Duration {
	return time.Duration((0.5 + d.Float64()) * float64(mean))
}

// gap is the time between two arrivals that know nothing of each other: they
// are Poisson distributed. A long one is cut, for somebody who looks on.
func (d dice) gap(mean time.Duration) time.Duration {
	return min(time.Duration(d.ExpFloat64()*float64(mean)), 4*mean)
}

func pick[T any](d dice, of []T) T { return of[d.IntN(len(of))] }

// people are invented; each language has first and last names, and a way to put
// them together.
var people = []struct {
	language, format string
	first, last      []string
}{
	{"en", "%[1]s %[2]s", []string{"Ada", "Owen", "Grace", "Theo"}, []string{"Marsh", "Whitlock", "Penrose", "Adeyemi"}},
	{"de", "%[1]s %[2]s", []string{"Jörg", "Käthe", "Anneliese", "Cem"}, []string{"Grünwald", "Weiß", "Öztürk", "Hollerbach"}},
	{"pt", "%[1]s %[2]s", []string{"João", "Conceição", "Inácio"}, []string{"Magalhães", "Simões", "de Araújo"}},
	{"es", "%[1]s %[2]s", []string{"Iñaki", "Begoña", "Martín"}, []string{"Núñez Ibarra", "Echeverría", "Peñalver"}},
	{"pl", "%[1]s %[2]s", []string{"Łucja", "Grażyna", "Wojciech"}, []string{"Wiśniewska", "Dąbrowski", "Żak"}},
	{"vi", "%[2]s %[1]s", []string{"Thị Hạnh", "Văn Đức"}, []string{"Nguyễn", "Trần"}},
	{"ru", "%[1]s %[2]s", []string{"Мирослава", "Платон"}, []string{"Заречная", "Лесной"}},
	{"el", "%[1]s %[2]s", []string{"Ευανθία", "Στέλιος"}, []string{"Καλλέργη", "Μαυρίδης"}},
	{"ar", "%[1]s %[2]s", []string{"ليلى", "يوسف", "نور"}, []string{"الحداد", "منصور", "القاسم"}},
	{"he", "%[1]s %[2]s", []string{"תמר", "איתן"}, []string{"שגיא", "ברעם"}},
	{"hi", "%[1]s %[2]s", []string{"आरती", "विक्रम"}, []string{"जोशी", "मेहरा"}},
	{"am", "%[1]s %[2]s", []string{"ሰላም", "ዳዊት"}, []string{"ተስፋዬ", "በቀለ"}},
	{"ka", "%[1]s %[2]s", []string{"ნინო", "ლევანი"}, []string{"ბერიძე", "კობახიძე"}},
	{"th", "%[1]s %[2]s", []string{"สมหญิง", "ธนา"}, []string{"ศรีสุข", "แก้วมณี"}},
	{"zh", "%[2]s%[1]s", []string{"晓梅", "志强", "雨桐"}, []string{"欧阳", "林", "沈"}},
	{"ja", "%[2]s %[1]s", []string{"さくら", "健太"}, []string{"小松原", "三輪"}},
	{"ko", "%[2]s%[1]s", []string{"서연", "도윤"}, []string{"남궁", "백"}},
}

type customer struct {
	Name  string `json:"name"`
	Phone string `json:"phone,omitempty"`
}

// somebody gives a customer and the language that they speak. The telephone
// numbers are of those that are kept for films.
func (d dice) somebody() (c customer, language string) {
	p := pick(d, people)
	c.Name = fmt.Sprintf(p.format, pick(d, p.first), pick(d, p.last))
	if d.chance(0.5) {
		c.Phone = fmt.Sprintf("+44 20 7946 0%03d", d.IntN(1000))
	}
	return c, p.language
}
