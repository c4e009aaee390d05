// Days that a calendar has, without a Date for each (proleptic Gregorian).

const monthDays = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]
const isLeap = (year: number) => year % 4 === 0 && (year % 100 !== 0 || year % 400 === 0)

/** Whether a year has this month (1 to 12) and day. */
export function hasDay(year: number, month: number, day: number): boolean {
  const days = month === 2 && isLeap(year) ? 29 : (monthDays[month - 1] ?? 0)
  return day >= 1 && day <= days
}
