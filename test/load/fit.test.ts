// The bench ends within ten minutes where a quarter of its requests can be sent in them, and tells where not.
import t from 'tap'
import { fitInTime } from '../../load/fit.ts'

t.test('the slower the warm-up, the fewer requests, and never less than a quarter', (t) => {
  t.equal(fitInTime(1).share, 1)
  t.equal(fitInTime(60).share, 0.25)
  t.ok(fitInTime(60).seconds > 600, 'too slow, and told so')
  const fits = Array.from({ length: 60 }, (_, i) => fitInTime(i + 1))
  for (const [i, { share, seconds }] of fits.entries()) {
    t.ok(share <= (fits[i - 1]?.share ?? 1), 'no more than on a faster machine')
    t.ok(seconds <= 600 || share === 0.25, `${seconds} s with ${share} of the requests`)
  }
  t.ok(fits.some(({ share }) => share > 0.25 && share < 1))
  t.end()
})
